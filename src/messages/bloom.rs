//! Bloom and cuckoo filters, count-min sketches, top-k lists and t-digests.
