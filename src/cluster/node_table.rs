//! The lines of a reply to CLUSTER NODES.

/// One node, as the node that was asked describes it.
pub(crate) struct NodeLine<'a> {
    pub(crate) id: &'a str,
    pub(crate) address: &'a str,
    flags: &'a str,
    slots: Vec<&'a str>,
}

impl<'a> NodeLine<'a> {
    /// Reads `id address flags primary ping pong epoch link-state slots..`; `None` if the line is not one.
    pub(crate) fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (id, address, flags) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { id, address, flags, slots: fields.skip(5).filter(|slot| !slot.is_empty()).collect() })
    }

    pub(crate) fn has_flag(&self, wanted: &str) -> bool {
        self.flags.split(',').any(|flag| flag == wanted)
    }

    /// `first-last`, `slot`, or in brackets a slot that is being moved.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &'a str> {
        self.slots.iter().copied()
    }
}
