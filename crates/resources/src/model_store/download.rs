use std::time::Duration;

use outbound::{Answer, Extent, Fetch, Outbound, OutboundError, Url};

use super::{
    Progress, Size, StoreError, Watch,
    inspect::{HEAD_BYTES, sniff},
    partial::Partial,
};

/// Waits before a download that was cut off is taken up again by itself. After one that came further than any before
/// they begin anew.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];
/// Bytes that count as progress.
const PROGRESS_BYTES_MIN: u64 = 1 << 20;

/// How often a download is taken up again. A server that can only begin anew, and never gets to the end, would go on
/// for ever: so what counts is how far it came at best.
struct Patience {
    furthest: u64,
    pauses: std::slice::Iter<'static, Duration>,
}

impl Patience {
    fn new(bytes: u64) -> Self {
        Self { furthest: bytes, pauses: PAUSES.iter() }
    }

    /// The pause before the next attempt, after one that ended with so many bytes; none if it is given up.
    fn pause(&mut self, bytes: u64) -> Option<Duration> {
        if bytes >= self.furthest + PROGRESS_BYTES_MIN {
            *self = Self::new(bytes);
        }
        self.pauses.next().copied()
    }
}

/// One file on a web server.
pub(super) struct Download<'a> {
    pub(super) outbound: &'a Outbound,
    pub(super) url: &'a Url,
    /// What is sent with each request; its range is set here.
    pub(super) fetch: &'a mut Fetch,
    /// As it is recorded and shown.
    pub(super) shown: &'a str,
}

/// Looks at the head of each answer: says whether its body is wanted.
pub(super) type Judge<'a> = &'a mut (dyn FnMut(&Answer) -> Result<bool, StoreError> + Send);

/// Why one attempt ended early.
enum Stopped {
    /// There is no use in trying again.
    For(StoreError),
    /// The rest may come when it is asked for.
    CutOff(OutboundError),
    /// What is kept does not belong to what the server has.
    Stale(OutboundError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::For(error)
    }
}

impl Download<'_> {
    /// Fetches the whole file, or what is missing of it; false if the judge did not want it.
    pub(super) async fn run(
        &mut self,
        partial: &mut Partial,
        judge: Judge<'_>,
        watch: Watch<'_>,
    ) -> Result<bool, StoreError> {
        let mut patience = Patience::new(partial.bytes());
        let mut anew = false;
        loop {
            let (from, version) = if anew { (0, None) } else { partial.durable() };
            (self.fetch.from_byte, self.fetch.if_range) = (from, version.map(str::to_owned));
            match self.attempt(partial, judge, watch).await {
                Ok(wanted) => return Ok(wanted),
                Err(Stopped::For(error)) => return Err(error),
                Err(Stopped::Stale(_)) if from > 0 => anew = true,
                Err(Stopped::Stale(error)) => return Err(self.failed(&error, partial)),
                Err(Stopped::CutOff(error)) => {
                    anew = false;
                    partial.keep()?;
                    let pause = patience.pause(partial.bytes());
                    // What never began is not asked for again: there may be no network at all.
                    let pause = pause.filter(|_| partial.bytes() > 0 && error.may_pass());
                    let Some(pause) = pause else { return Err(self.failed(&error, partial)) };
                    watch(Progress::Note(format!("{error}; trying again in {} s", pause.as_secs())));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        partial: &mut Partial,
        judge: Judge<'_>,
        watch: Watch<'_>,
    ) -> Result<bool, Stopped> {
        let mut answer = self.outbound.get(self.url, self.fetch).await.map_err(|error| match error {
            OutboundError::WrongPart { .. } | OutboundError::PastTheEnd { .. } => Stopped::Stale(error),
            error => Stopped::CutOff(error),
        })?;
        if !judge(&answer)? {
            return Ok(false);
        }
        let (from, version) = match answer.extent {
            Extent::Part { from } => (from, self.fetch.if_range.clone()),
            Extent::Whole => (0, strong(answer.etag.take())),
        };
        if from < self.fetch.from_byte {
            let kept = Size(self.fetch.from_byte);
            watch(Progress::Note(format!(
                "{} has changed since {kept} of it came; fetching all of it",
                self.shown
            )));
        }
        partial.begin(from, version, answer.total, watch)?;
        watch(Progress::Begins { what: format!("pulling {}", self.shown), total: answer.total, done: from });
        let mut head = Vec::new();
        let mut is_known = from > 0;
        while let Some(chunk) = answer.body.chunk().await.map_err(|error| self.in_body(error, partial))? {
            watch(Progress::Done(chunk.len() as u64));
            if is_known {
                partial.write(&chunk)?;
                continue;
            }
            head.extend_from_slice(&chunk);
            if head.len() >= HEAD_BYTES {
                sniff(&head, self.shown)?;
                partial.write(&head)?;
                is_known = true;
            }
        }
        if !is_known {
            sniff(&head, self.shown)?;
            partial.write(&head)?;
        }
        Ok(true)
    }

    /// A server that sends more than it announced is not believed in what it sent before either.
    fn in_body(&self, error: OutboundError, partial: &mut Partial) -> Stopped {
        if error.may_pass() {
            return Stopped::CutOff(error);
        }
        partial.distrust();
        Stopped::For(self.failed(&error, partial))
    }

    fn failed(&self, error: &OutboundError, partial: &Partial) -> StoreError {
        StoreError::Fetch {
            source_text: self.shown.to_owned(),
            why: error.to_string(),
            kept: partial.kept(),
            is_missing: matches!(error, OutboundError::NotFound { .. }),
        }
    }
}

/// What names the very bytes. A weak one (`W/"…"`) names what they mean, and parts of two such files do not fit.
fn strong(etag: Option<String>) -> Option<String> {
    etag.filter(|etag| etag.starts_with('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_taken_up_again_as_long_as_it_comes_further_than_ever() {
        let mib = 1 << 20;
        for (kept, ends, pauses) in [
            (0, &[9, 9, 9, 9][..], &[Some(1), Some(4), Some(16), None][..]),
            (0, &[mib, 2 * mib, 3 * mib], &[Some(1), Some(1), Some(1)]),
            (0, &[2 * mib, mib, 2 * mib, mib], &[Some(1), Some(4), Some(16), None]),
            (5 * mib, &[mib, 5 * mib, 6 * mib], &[Some(1), Some(4), Some(1)]),
        ] {
            let mut patience = Patience::new(kept);
            let found: Vec<_> =
                ends.iter().map(|&bytes| patience.pause(bytes).map(|pause| pause.as_secs())).collect();
            assert_eq!(found, pauses, "{kept}, then {ends:?}");
        }
    }
}
