//! Where a request wants to go.

use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Uri};

/// `host:port` for CONNECT, an absolute URI without user information else.
pub(crate) fn target(method: &Method, uri: &Uri) -> Result<Uri, &'static str> {
    let Some(authority) = uri.authority() else {
        return Err(
            "this is a forward proxy: set it as your client's proxy (`curl -x`), do not send requests to it",
        );
    };
    // A proxy that refuses it would be charged for it.
    if authority.host().is_empty() {
        return Err("the request's target has no host");
    }
    let malformed = "the request's target is malformed";
    let has_user = authority.as_str().contains('@');
    let authority = || match authority.as_str().rsplit_once('@') {
        Some((_, host_and_port)) => host_and_port.parse().map_err(|_| malformed),
        None => Ok(authority.clone()),
    };
    if *method == Method::CONNECT {
        let authority: Authority = authority()?;
        if authority.port_u16().is_none() {
            return Err("CONNECT needs a port");
        }
        return Ok(Uri::from(authority));
    }
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err("only http:// can be passed on in the clear; for https:// use CONNECT");
    }
    if !has_user {
        return Ok(uri.clone());
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority()?);
    Uri::from_parts(parts).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_from_the_request_line() {
        let read = |method: Method, uri: &str| {
            target(&method, &uri.parse().unwrap()).map(|uri| uri.to_string())
        };
        assert_eq!(
            read(Method::GET, "http://user:pw@a.example:81/x?y"),
            Ok("http://a.example:81/x?y".into())
        );
        assert_eq!(
            read(Method::CONNECT, "a.example:443"),
            Ok("a.example:443".into())
        );
        assert_eq!(
            read(Method::CONNECT, "user:pw@[::1]:443"),
            Ok("[::1]:443".into())
        );
        assert!(read(Method::CONNECT, "a.example").is_err());
        for (method, uri) in [
            (Method::CONNECT, ":443"),
            (Method::CONNECT, "user:pw@:443"),
            (Method::GET, "http://:80/x"),
            (Method::GET, "http://user:pw@:80/x"),
        ] {
            // What is no URI at all, hyper refuses.
            if let Ok(uri) = uri.parse() {
                assert!(target(&method, &uri).is_err(), "{method} {uri}");
            }
        }
        assert!(read(Method::CONNECT, ":443").unwrap_err().contains("host"));
        assert!(
            read(Method::GET, "/x")
                .unwrap_err()
                .contains("forward proxy")
        );
        assert!(
            read(Method::GET, "https://a.example/")
                .unwrap_err()
                .contains("CONNECT")
        );
    }
}
