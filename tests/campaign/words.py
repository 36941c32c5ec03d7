"""The words in which forward proxies say that they did not reach a target.

`squid` as squid 6 does, `tinyproxy` as tinyproxy 1.11 does (500 for each target that it cannot connect to), `relay` as
newer gateways do, with `Proxy-Status`.
"""

from wire import response

SQUID = {
    "dns": (503, "Service Unavailable", "ERR_DNS_FAIL 0"),
    "refused": (503, "Service Unavailable", "ERR_CONNECT_FAIL 111"),
    "timeout": (503, "Service Unavailable", "ERR_CONNECT_FAIL 110"),
    "denied": (403, "Forbidden", "ERR_ACCESS_DENIED 0"),
    "empty": (502, "Bad Gateway", "ERR_ZERO_SIZE_OBJECT 0"),
    "invalid": (502, "Bad Gateway", "ERR_INVALID_RESP 0"),
}
TINYPROXY = {
    "dns": (500, "Unable to connect"),
    "refused": (500, "Unable to connect"),
    "timeout": (500, "Unable to connect"),
    "denied": (403, "Access violation"),
    "empty": None,
    "invalid": (503, "Could not retrieve all the headers"),
}
RELAY = {
    "dns": (502, "Bad Gateway", "dns_error"),
    "refused": (502, "Bad Gateway", "connection_refused"),
    "timeout": (504, "Gateway Timeout", "connection_timeout"),
    "denied": (403, "Forbidden", "destination_ip_prohibited"),
}


def squid(kind):
    status, phrase, error = SQUID[kind]
    text = f"The requested URL could not be retrieved: {error}\n"
    headers = [("Server", "squid/6.14"), ("X-Squid-Error", error), ("Connection", "close")]
    return response(status, phrase, text, headers)


def tinyproxy(kind):
    if TINYPROXY[kind] is None:
        return b""
    status, phrase = TINYPROXY[kind]
    headers = "Server: tinyproxy/1.11.1\r\nContent-Type: text/html\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status} {phrase}\r\n{headers}\r\n<h1>{phrase}</h1>\n".encode()


def relay(kind):
    status, phrase, error = RELAY[kind]
    headers = [("Proxy-Status", f"relay; error={error}"), ("Connection", "close")]
    return response(status, phrase, f"{error}\n", headers)


WORDS = {"squid": squid, "tinyproxy": tinyproxy, "relay": relay}
# SOCKS5 replies of RFC 1928.
SOCKS = {"denied": 2, "dns": 4, "refused": 5, "timeout": 6}
