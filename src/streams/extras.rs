//! What a consumer may do beyond reading one stream.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Extras {
    pub(super) weight: u32,
    pub(super) more: Vec<(String, u32)>,
    pub(crate) delete_acknowledged: bool,
    pub(crate) dead_letter_max_len: Option<u64>,
    pub(crate) scheduled_every: Option<Duration>,
    /// The user has not said how often.
    pub(crate) scheduled_by_default: bool,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            weight: 1,
            more: Vec::new(),
            delete_acknowledged: false,
            dead_letter_max_len: None,
            scheduled_every: Some(Duration::from_millis(500)),
            scheduled_by_default: true,
        }
    }
}

impl Extras {
    /// Every stream with its weight, the one that the consumer was named for first.
    pub(crate) fn streams(&self, first: String) -> Vec<(String, u32)> {
        let mut streams = vec![(first, self.weight)];
        for (stream, weight) in &self.more {
            match streams.iter_mut().find(|(known, _)| known == stream) {
                Some(known) => known.1 = *weight,
                None => streams.push((stream.clone(), *weight)),
            }
        }
        streams
    }
}
