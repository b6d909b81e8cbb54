//! Who may call the API: the services with their keys and rights, and the origins whose pages may. What a reload changes
//! is here; a request takes it as it stands when it comes.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{Config, Secret, Service};

#[derive(Debug)]
pub struct Access(RwLock<Arc<Allowed>>);

/// As of one reading of the settings.
#[derive(Debug)]
pub struct Allowed {
    services: Vec<Arc<Service>>,
    origins: Vec<String>,
}

impl Access {
    pub fn new(config: &Config) -> Access {
        Access(RwLock::new(Arc::new(Allowed::new(config))))
    }

    /// From here on only what these settings allow.
    pub fn change(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Allowed::new(config));
    }

    pub fn now(&self) -> Arc<Allowed> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Allowed {
    fn new(config: &Config) -> Allowed {
        Allowed { services: config.services.clone(), origins: config.allowed_origins.clone() }
    }

    /// Looks at every service, also behind the one that fits: the time tells nothing.
    pub fn service(&self, key: &str) -> Option<Arc<Service>> {
        let presented = Secret::new(key);
        let fitting = self.services.iter().filter(|service| service.secret.same_as(&presented));
        fitting.fold(None, |_, service| Some(Arc::clone(service)))
    }

    pub fn has_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == origin)
    }
}
