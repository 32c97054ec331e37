//! A server that was a master and is a replica now, as all connections of one handle know it.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the demotions that were seen by any connection of a handle. Every connection that was dialled before the last
/// one leads to a server that may be a replica now.
#[derive(Clone, Debug)]
pub(crate) struct Demotions(Arc<watch::Sender<u64>>);

impl Default for Demotions {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Demotions {
    /// How many there were. A connection notes it when its dial begins.
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// A link that was dialled when there were `at_dial` of them was refused a write by a server that had been a master.
    /// Several links see the same demotion, so only the first report counts.
    pub(crate) fn report(&self, at_dial: u64) {
        self.0.send_if_modified(|count| {
            let is_new = *count == at_dial;
            *count += u64::from(is_new);
            is_new
        });
    }

    /// Waits until there were not as many as `seen`, and returns how many there were.
    pub(crate) async fn changed(&self, seen: u64) -> u64 {
        // The sender is ours, so the channel is open.
        self.0.subscribe().wait_for(|count| *count != seen).await.map_or(seen, |count| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ablation: counting every report ends each connection as often as there are links that saw the demotion.
    #[test]
    fn one_demotion_counts_once_however_many_links_report_it() {
        let demotions = Demotions::default();
        for _ in 0..5 {
            demotions.report(0);
        }
        assert_eq!(demotions.count(), 1);
        demotions.report(1);
        assert_eq!(demotions.count(), 2);
    }
}
