//! Tracks the server process to which a cursor belongs.
//!
//! A cursor is a position in a hash table, whose order is random for each server process. Another process (after a
//! restart, a failover, a redirect) accepts it without an error, and skips the keys that are before this position in
//! its own order.

/// The maximum number of restarts of a scan whose cursor was lost.
pub(super) const MOST_RESTARTS: u32 = 100;

/// The process of the current cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The link on which it replied last.
    link: u64,
    run_id: RunId,
}

/// The identity of a process, beyond the link to it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RunId {
    NotAsked,
    /// INFO is forbidden or renamed, or the link was lost before the reply: another link may lead to any process.
    Unknown,
    Known(String),
}

/// Whether a page continues the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuity {
    Same,
    /// Depends on the run id of the process on this link.
    AskRunId,
    Other,
}

impl Process {
    /// The process that returned the first page.
    pub(super) fn first(link: u64) -> Self {
        Self { link, run_id: RunId::NotAsked }
    }

    /// Whether its run id must be requested before its cursor is used, because its link may be lost afterwards.
    pub(super) fn is_anonymous(&self) -> bool {
        self.run_id == RunId::NotAsked
    }

    /// Stores the run id that was received on `link`.
    pub(super) fn identified(&mut self, link: Option<u64>, run_id: Option<String>) {
        self.run_id = match run_id {
            Some(run_id) if link == Some(self.link) => RunId::Known(run_id),
            _ => RunId::Unknown,
        };
    }

    /// Classifies a page that was received on `link` for a cursor of this process.
    pub(super) fn judge(&self, link: Option<u64>) -> Continuity {
        match &self.run_id {
            _ if link == Some(self.link) => Continuity::Same,
            RunId::Known(_) if link.is_some() => Continuity::AskRunId,
            _ => Continuity::Other,
        }
    }

    /// Whether the page received on `link` is of this process after all: `run_id` was received on `asked`.
    pub(super) fn is_met_again(&mut self, link: Option<u64>, asked: Option<u64>, run_id: Option<String>) -> bool {
        let is_same = run_id.is_some_and(|run_id| self.run_id == RunId::Known(run_id));
        match link.filter(|_| link == asked && is_same) {
            Some(link) => {
                self.link = link;
                true
            }
            None => false,
        }
    }
}

/// The run id in the reply to INFO.
pub(super) fn run_id(info: &str) -> Option<String> {
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:"))?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_link_needs_no_run_id() {
        let mut process = Process::first(1);
        process.identified(None, None);
        assert_eq!(process.judge(Some(1)), Continuity::Same);
        assert_eq!(process.judge(Some(2)), Continuity::Other, "it may lead to another process");
        assert_eq!(process.judge(None), Continuity::Other);
    }

    #[test]
    fn the_run_id_is_parsed() {
        assert_eq!(
            run_id("# Server\r\nredis_version:7.0.15\r\nrun_id:ab12\r\ntcp_port:1\r\n"),
            Some("ab12".to_owned())
        );
        assert_eq!(run_id("# Server\r\nredis_version:7.0.15\r\nrun_id:\r\n"), None);
        assert_eq!(run_id("OK"), None);
    }

    proptest! {
        /// Links are lost and established, processes restart, and INFO may be forbidden or use another link than the
        /// page. A page counts as a continuation only if the process of the cursor has returned it.
        ///
        /// Ablation: a run id accepted from any link fails with `a page of another process`.
        #[test]
        fn a_cursor_is_never_continued_at_another_process(
            steps in proptest::collection::vec((0..4_u8, any::<bool>(), any::<bool>()), 1..60)
        ) {
            // The process of each link, by index.
            let mut links = vec![0_usize];
            let mut processes = 1;
            let mut walk: Option<(Process, usize)> = None;
            let id = |link: usize, links: &[usize], allowed: bool| allowed.then(|| format!("process {}", links[link]));
            for (step, allowed, moves) in steps {
                match step {
                    0 => links.push(*links.last().expect("one")),
                    1 => {
                        links.push(processes);
                        processes += 1;
                    }
                    2 => links.push(0),
                    _ => {}
                }
                let link = links.len() - 1;
                let of = |link: usize| u64::try_from(link).ok();
                // The request for the run id may use a later link than the page, which leads to the first process
                // again, for example behind a load balancer.
                if moves {
                    links.push(0);
                }
                let asked = links.len() - 1;
                let Some((process, from)) = &mut walk else {
                    let mut process = Process::first(of(link).expect("small"));
                    process.identified(of(asked), id(asked, &links, allowed));
                    walk = Some((process, links[link]));
                    continue;
                };
                let is_same = match process.judge(of(link)) {
                    Continuity::Same => true,
                    Continuity::AskRunId => process.is_met_again(of(link), of(asked), id(asked, &links, allowed)),
                    Continuity::Other => false,
                };
                prop_assert!(!is_same || links[link] == *from, "a page of another process");
                if !is_same {
                    walk = None;
                }
            }
        }
    }
}
