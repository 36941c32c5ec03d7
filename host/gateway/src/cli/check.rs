//! `remora check`

use std::path::Path;

use super::{Failure, table};
use crate::config::{self, ConfigError};

pub(super) async fn check(path: &Path) -> Result<(), Failure> {
    let mut file = config::read(path)?;
    let wrong = |error| ConfigError::Build {
        path: path.display().to_string(),
        error,
    };
    let addresses = file.addresses().map_err(wrong)?;
    // Checking must not write: a record that is there already would be lost.
    file.record = None;
    let gateway = file.build().await.map_err(wrong)?;
    let mut meaning = table(["what", "how"]);
    for (what, how) in file.explain(&addresses) {
        meaning.add_row([what, how]);
    }
    let mut proxies = table(["proxy", "weight", "tags", "id"]);
    for proxy in gateway.manager().proxies().await? {
        let tags = proxy.tags.join(", ");
        proxies.add_row([
            proxy.url,
            proxy.weight.to_string(),
            tags,
            proxy.id.to_string(),
        ]);
    }
    println!("{}: good", path.display());
    println!("{meaning}\n{proxies}");
    if let Some(caveat) = file.caveat() {
        println!("Note: {caveat}.");
    }
    Ok(())
}
