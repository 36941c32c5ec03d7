//! `remora check`

use std::path::Path;

use serde::Serialize;

use super::{Failure, table};
use crate::admin::answers::Proxy;
use crate::config::{self, Addresses, ConfigError, File};
use crate::gateway::Gateway;

/// `remora check --json`
#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    meaning: serde_json::Map<String, serde_json::Value>,
    proxies: Vec<Proxy>,
    note: Option<&'a str>,
}

/// Makes all that the file says without touching what it names: nothing listens, nothing is written, and the storage
/// need not be there.
pub(super) async fn dry(path: &Path, file: &File) -> Result<(Addresses, Gateway), Failure> {
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let addresses = file.addresses().map_err(wrong)?;
    file.limits().map_err(wrong)?;
    file.admin().map_err(wrong)?;
    let mut dry = file.clone();
    dry.record = None;
    dry.check_storage().map_err(wrong)?;
    Ok((addresses, dry.build().await.map_err(wrong)?))
}

pub(super) async fn check(path: &Path, as_json: bool) -> Result<(), Failure> {
    let file = config::read(path)?;
    let (addresses, gateway) = dry(path, &file).await?;
    let meaning = file.explain(&addresses);
    let proxies = gateway.manager().proxies().await?;
    let proxies: Vec<Proxy> = proxies.into_iter().map(Into::into).collect();
    if as_json {
        let meaning = meaning.into_iter().map(|(what, how)| (what, how.into()));
        let checked = Checked {
            file: path.display().to_string(),
            meaning: meaning.collect(),
            proxies,
            note: file.caveat(),
        };
        println!("{}", serde_json::to_string(&checked)?);
        return Ok(());
    }
    let mut rows = table(["what", "how"]);
    for (what, how) in meaning {
        rows.add_row([what, how]);
    }
    let mut pool = table(["proxy", "weight", "tags", "id"]);
    for proxy in proxies {
        let tags = proxy.tags.join(", ");
        pool.add_row([
            proxy.url,
            proxy.weight.to_string(),
            tags,
            proxy.id.to_string(),
        ]);
    }
    println!("{}: good", path.display());
    println!("{rows}\n{pool}");
    if let Some(caveat) = file.caveat() {
        println!("Note: {caveat}.");
    }
    Ok(())
}
