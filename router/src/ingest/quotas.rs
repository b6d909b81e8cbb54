//! The quotas of all services, by name. A reload changes them and forgets nothing that was taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::quota::Quota;
use crate::config::Service;

#[derive(Debug)]
pub struct Quotas(RwLock<HashMap<String, Arc<Mutex<Quota>>>>);

impl Quotas {
    pub fn new(services: &[Arc<Service>]) -> Quotas {
        let quotas = Quotas(RwLock::default());
        quotas.change(services);
        quotas
    }

    /// Services without a quota, and those that are gone, have none from here on.
    pub fn change(&self, services: &[Arc<Service>]) {
        let mut quotas = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *quotas);
        for service in services {
            let Some(per_minute) = service.per_minute else { continue };
            let quota = before.remove(&service.name);
            let quota = quota.unwrap_or_else(|| Arc::new(Mutex::new(Quota::new(per_minute))));
            lock(&quota).change(per_minute);
            quotas.insert(service.name.clone(), quota);
        }
    }

    /// `None`: as much as it likes.
    pub fn of(&self, service: &str) -> Option<Arc<Mutex<Quota>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned()
    }
}

pub fn lock(quota: &Mutex<Quota>) -> MutexGuard<'_, Quota> {
    quota.lock().unwrap_or_else(PoisonError::into_inner)
}
