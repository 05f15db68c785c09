//! One iroh endpoint with docs, blobs and gossip, persisted under a directory.
