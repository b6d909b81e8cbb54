//! The flags of `loadtest providers`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::ProvidersConfig;
use super::faults::Faults;
use crate::cli::Usage;

#[derive(Debug, Args)]
pub struct ProvidersArgs {
    /// Where the control listens; the providers take the ports behind it, or free ones if its port is 0.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What goes wrong from the start: JSON as `PUT /faults` takes it.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

impl ProvidersArgs {
    pub(crate) fn settle(&self) -> Result<ProvidersConfig, Usage> {
        let Some(file) = &self.scenario else {
            return Ok(ProvidersConfig { listen: self.listen, faults: Faults::default() });
        };
        let wrong = |why: String| Usage(format!("--scenario {}: {why}", file.display()));
        let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let faults = Faults::parse(&text).map_err(wrong)?;
        Ok(ProvidersConfig { listen: self.listen, faults })
    }
}
