//! What is wrong with the file of a tenant.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::hash;
use crate::world::remora;

#[test]
fn a_wrong_tenant_is_refused_with_its_name_and_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("remora.toml");
    let proxy = "[[tenant.proxy]]\nurl = \"http://user:s3cret@127.0.0.1:1\"\n";
    let user = format!(
        "[[tenant.user]]\nname = \"alice\"\npassword_hash = \"{}\"\n",
        hash()
    );
    let a = format!("[[tenant]]\nname = \"a\"\n{user}{proxy}");
    let b = a.replace("\"a\"", "\"b\"");
    let top = "[[proxy]]\nurl = \"http://127.0.0.1:1\"\n";
    for (text, message) in [
        (
            format!("{a}{a}"),
            "`tenant[1].name` is `a`; accepted: each name once",
        ),
        (
            format!("{a}{b}"),
            "tenant `b`: `user.name` is `alice`; accepted: a name that is nobody else's, and the tenant `a` has",
        ),
        (
            a.replace(&user, ""),
            "tenant `a`: `user` is `not set`; accepted: at least one [[user]]",
        ),
        (a.replace(proxy, ""), "tenant `a`: there is no [[proxy]]"),
        (
            a.replace("name = \"a\"\n", ""),
            "`tenant[0].name` is `not set`",
        ),
        (
            a.replace("\"a\"", "\"../a\""),
            "`tenant[0].name` is `../a`; accepted: 1 to 40 letters",
        ),
        (
            format!("[[user]]\nname = \"alice\"\npassword = \"tops\"\n{top}{a}"),
            "tenant `a`: `user.name` is `alice`; accepted: a name that is nobody else's, and the pool at the top has",
        ),
        (
            a.replace("password_hash", "password"),
            "tenant `a`: `user[0].password` is `…`; accepted: left out for a tenant's user",
        ),
        (
            a.replace(hash(), "s3cret"),
            "tenant `a`: `user[0].password_hash` is `…`; accepted: what `remora hash-password` writes",
        ),
        (
            a.replace("url", "urk"),
            "remora.toml:7: unknown field `urk` in [[tenant.proxy]]; did you mean `url`?",
        ),
        (
            format!("{a}[tenant.limits]\nmemory_bytes = 1"),
            "tenant `a`: `limits.memory_bytes` is `1`; accepted: 2097152 to",
        ),
        (
            format!("{a}[tenant.limits]\nrequests_per_second = 0"),
            "tenant `a`: `limits.requests_per_second` is `0`",
        ),
        (
            format!("{a}[tenant.breaker]\nopen_threshold = 0"),
            "tenant `a`: `breaker.open_threshold` is `0`; accepted: at least 1",
        ),
        (
            format!("{a}{top}"),
            "`user` is `not set`; accepted: at least one [[user]], or no [[proxy]]",
        ),
        (
            format!("tenants = \"t\"\n{a}"),
            "`tenants` is `t`; accepted: left out where there is a [[tenant]]",
        ),
        (
            "tenants = \"/nowhere/t\"".to_owned(),
            "`tenants`: cannot use /nowhere/t: No such file",
        ),
        (
            a.replace("name = \"a\"\n", "name = \"a\"\nplugin = \"x.wasm\"\n"),
            "tenant `a`: `plugin` is `x.wasm`; accepted: left out, unless `code_cache`",
        ),
    ] {
        fs::write(&path, &text).unwrap();
        for command in ["check", "serve"] {
            let output = remora()
                .arg(command)
                .arg("--config")
                .arg(&path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let said = said.lines().last().unwrap_or_default();
            assert!(
                said.starts_with("remora: ") && said.contains(message),
                "{said}\n{message}"
            );
            assert_eq!(output.status.code(), Some(1));
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
    fs::write(&path, &a).unwrap();
    let run = |arguments: &[&str]| {
        let mut command: Command = remora();
        let output = command
            .args(arguments)
            .arg("--config")
            .arg(&path)
            .output()
            .unwrap();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        write!(said, "{}", String::from_utf8_lossy(&output.stderr)).unwrap();
        said
    };
    let said = run(&["check"]);
    assert!(
        said.contains("good") && said.contains("1 in this file"),
        "{said}"
    );
    let said = run(&["envoy"]);
    assert!(
        said.contains("inside Envoy nothing keeps tenants apart"),
        "{said}"
    );
}
