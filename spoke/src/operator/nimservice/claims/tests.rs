//! What claims come to in the objects of a NIMService.
