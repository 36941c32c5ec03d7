// Go's net/http, one kept client: PROXY ORIGIN CA. Prints what it saw as JSON (see python_clients.py).
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

func main() {
	proxy, _ := url.Parse(os.Args[1])
	pem, _ := os.ReadFile(os.Args[3])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		Proxy:             http.ProxyURL(proxy),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	client := &http.Client{Transport: transport}
	steps := []struct {
		at   float64
		path string
	}{{0, "/"}, {1, "/"}, {4.3, "/"}, {6.3, "/think/5"}, {14, "/"}}
	exits, errors := []*string{}, []string{}
	began := time.Now()
	for _, step := range steps {
		time.Sleep(time.Until(began.Add(time.Duration(step.at * float64(time.Second)))))
		response, err := client.Get(os.Args[2] + step.path)
		if err != nil {
			exits, errors = append(exits, nil), append(errors, fmt.Sprintf("%s: %v", step.path, err))
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			errors = append(errors, fmt.Sprintf("%s: %v", step.path, err))
		}
		text := string(body)
		exits = append(exits, &text)
	}
	said, _ := json.Marshal(map[string]any{"exits": exits, "errors": errors})
	fmt.Println(string(said))
}
