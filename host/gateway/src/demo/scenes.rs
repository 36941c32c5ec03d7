//! What the demo plays.

use std::collections::HashSet;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::Stage;
use super::client::{Answer, Client, Way};
use super::show::Scene;
use crate::stdout::{Failure, say};

/// Plays all scenes in order.
pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    login(stage).await?;
    rotation(stage).await?;
    let dead = death(stage).await?;
    recovery(stage, dead).await?;
    expiry(stage).await?;
    if !stage.json {
        say("\nEverything was as it should be.")?;
    }
    Ok(())
}

/// Sends a request and shows it in the scene.
async fn ask(
    stage: &Stage,
    scene: &mut Scene,
    (method, host, path, way): (Method, &str, &str, Way),
    note: &str,
) -> Result<Answer, Failure> {
    let answer = stage.client.send(method.clone(), host, path, way).await?;
    let shown = match way {
        Way::Plain => format!("{method} http://{host}{path}"),
        Way::Connect => format!("{method} {host}{path} in a tunnel"),
    };
    // Where a proxy answered, the body is the address that the origin saw.
    let exit = if answer.status.is_server_error() {
        "none"
    } else {
        &answer.body
    };
    scene.row(&shown, exit, answer.status.as_str(), note);
    Ok(answer)
}

async fn login(stage: &Stage) -> Result<(), Failure> {
    let mut scene = Scene::new(
        stage.json,
        "1. A login flow keeps its exit: the site would refuse another one",
    );
    let host = "shop.example";
    let steps = [
        (
            Method::GET,
            "/login",
            Way::Plain,
            "a new session: the first proxy in turn",
        ),
        (
            Method::POST,
            "/session",
            Way::Connect,
            "the same exit, also through a tunnel",
        ),
        (Method::GET, "/account", Way::Plain, "the same exit"),
    ];
    let mut exits = HashSet::new();
    for (method, path, way, note) in steps {
        let answer = ask(stage, &mut scene, (method, host, path, way), note).await?;
        scene.expect(
            answer.status == StatusCode::OK,
            "the site accepts every step",
        );
        exits.insert(answer.body);
    }
    scene.expect(exits.len() == 1, "a login flow sees one exit");
    scene.end()
}

async fn rotation(stage: &Stage) -> Result<(), Failure> {
    let mut scene = Scene::new(
        stage.json,
        "2. Every domain has a session of its own: new ones take turns",
    );
    let mut exits = HashSet::new();
    for host in ["news.example", "maps.example", "wiki.example"] {
        let request = (Method::GET, host, "/", Way::Plain);
        let answer = ask(stage, &mut scene, request, "a new session, the next proxy").await?;
        exits.insert(answer.body);
    }
    scene.expect(exits.len() == 3, "three new domains see three exits");
    scene.end()
}

/// Answers with the place of the exit that died.
async fn death(stage: &mut Stage) -> Result<usize, Failure> {
    let mut scene = Scene::new(
        stage.json,
        "3. A proxy dies: its sessions move, and its circuit breaker takes it out",
    );
    let news = || (Method::GET, "news.example", "/", Way::Plain);
    let before = ask(stage, &mut scene, news(), "its session's exit").await?;
    let dead = stage
        .exits
        .iter()
        .position(|exit| exit.ip.to_string() == before.body)
        .ok_or("the origin saw an address that is no exit")?;
    stage.exits[dead].kill().await;
    scene.row(
        &format!("(the proxy of {} is killed)", before.body),
        "",
        "",
        "",
    );
    let moved = ask(
        stage,
        &mut scene,
        news(),
        "failure 1 of 2: sent once more, the session moves",
    )
    .await?;
    scene.expect(
        moved.status == StatusCode::OK && moved.body != before.body,
        "the client notices nothing but a fresh exit",
    );
    // New domains take turns, so one of the next three meets the dead proxy: failure 2 of 2, its breaker opens.
    for host in ["a.example", "b.example", "c.example"] {
        let request = (Method::GET, host, "/", Way::Plain);
        let answer = ask(stage, &mut scene, request, "its turn, or sent once more").await?;
        scene.expect(
            answer.status == StatusCode::OK && answer.body != before.body,
            "no client meets the dead proxy",
        );
    }
    let stats = stats(stage, &mut scene, "nobody is sent there").await?;
    scene.expect(
        stats["open"] == 1 && stats["healthy"] == 2,
        "one breaker is open",
    );
    scene.end()?;
    Ok(dead)
}

async fn recovery(stage: &mut Stage, dead: usize) -> Result<(), Failure> {
    let mut scene = Scene::new(
        stage.json,
        "4. It comes back: after 2 s one request may try, and closes the breaker",
    );
    stage.exits[dead].restart().await?;
    let ip = stage.exits[dead].ip.to_string();
    scene.row(&format!("(the proxy of {ip} is started again)"), "", "", "");
    sleep(Duration::from_millis(2_100)).await;
    for host in ["d.example", "e.example", "f.example"] {
        let answer = stage
            .client
            .send(Method::GET, host, "/", Way::Plain)
            .await?;
        if answer.body == ip {
            let url = format!("GET http://{host}/");
            scene.row(
                &url,
                &ip,
                answer.status.as_str(),
                "the probe: it works again",
            );
            break;
        }
    }
    let stats = stats(stage, &mut scene, "all three can be had again").await?;
    scene.expect(
        stats["open"] == 0 && stats["healthy"] == 3,
        "the breaker is closed",
    );
    scene.end()
}

async fn expiry(stage: &Stage) -> Result<(), Failure> {
    let mut scene = Scene::new(
        stage.json,
        "5. A session ends: this domain's sessions last 1 s, the others' 10 min",
    );
    let short = || (Method::GET, "short.example", "/", Way::Plain);
    let first = ask(stage, &mut scene, short(), "a new session").await?;
    let second = ask(stage, &mut scene, short(), "the same exit").await?;
    sleep(Duration::from_millis(1_100)).await;
    let third = ask(stage, &mut scene, short(), "1.1 s later: a fresh exit").await?;
    scene.expect(first.body != third.body, "a fresh exit after the end");
    // On a machine that stood still for a second the session may have ended before.
    let late = second.body != first.body;
    scene.expect(!late || second.body != third.body, "one exit until the end");
    let login = (Method::GET, "shop.example", "/account", Way::Connect);
    let account = ask(stage, &mut scene, login, "the login of scene 1 still holds").await?;
    scene.expect(account.status == StatusCode::OK, "the login still holds");
    let stats = stats(stage, &mut scene, "all there is").await?;
    scene.expect(
        stats["active_sessions"].as_u64() > Some(4),
        "sessions are counted",
    );
    scene.end()
}

/// Asks the admin interface.
async fn stats(stage: &Stage, scene: &mut Scene, note: &str) -> Result<Value, Failure> {
    let answer = Client::get(stage.admin, "/stats").await?;
    let stats: Value = serde_json::from_str(&answer.body)?;
    let shown = format!(
        "{} of {} proxies healthy, {} open, {} sessions: {note}",
        stats["healthy"], stats["total"], stats["open"], stats["active_sessions"]
    );
    scene.row("GET /stats", "", answer.status.as_str(), &shown);
    Ok(stats)
}
