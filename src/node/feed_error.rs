//! Why feeds cannot be made, changed or written.

use super::feed_book::FeedBookError;
use super::feed_list::FeedListError;
use crate::export::ExportError;
use crate::export::shared::ShareError;

/// Why there is no feed.
#[derive(Debug, thiserror::Error)]
pub enum FeedsError {
    /// An exporter does not start.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The keys of a feed are not shared as they must be.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The list of feeds is of no use.
    #[error(transparent)]
    List(#[from] FeedListError),
    /// A rule of the book.
    #[error(transparent)]
    Book(#[from] FeedBookError),
    /// Nobody would write a feed any more.
    #[error("the node is stopping")]
    Stopped,
}
