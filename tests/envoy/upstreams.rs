//! Upstream proxies that are spoken to over TLS.

use crate::egress::Egress;
use crate::exits::Kind;
use crate::parts::until;
use crate::world::{HOSTS, sticky};

#[test]
fn an_https_proxy_carries_plain_http_and_tunnels() {
    let egress = Egress::of(&[Kind::Squid, Kind::OwnPassword], &sticky("10m", ""));
    let exits = [HOSTS[0], HOSTS[1]].map(|host| {
        let exit = egress.exit(host);
        for _ in 0..2 {
            let answer = egress.ask(&egress.https(host, "/"), &[]);
            assert_eq!((answer.status, &answer.body), (200, &exit), "{answer:?}");
        }
        exit
    });
    assert_ne!(exits[0], exits[1], "both have served");
    until("squid has logged the user", || {
        egress.exits[0].log().contains(crate::world::USER)
    });
}

#[test]
fn a_certificate_for_somebody_else_is_a_failure_and_nothing_is_sent_in_the_clear() {
    // Its certificate names addresses; by this name it is somebody else's.
    let egress = Egress::of(&[Kind::Squid], &sticky("10m", ""));
    egress.rewrite(|text| text.replace("@127.0.0.1:", "@localhost:"));
    let failed = "remora_releases_total{outcome=\"failure\"}";
    until("it is not spoken to", || {
        egress.ask(&egress.http(HOSTS[0], "/"), &[]).status == 503 && egress.metric(failed) > 0
    });
    let seen = egress.exits[0].log().matches(HOSTS[0]).count();
    assert_eq!(egress.ask(&egress.http(HOSTS[0], "/"), &[]).status, 503);
    assert_eq!(egress.exits[0].log().matches(HOSTS[0]).count(), seen);
}
