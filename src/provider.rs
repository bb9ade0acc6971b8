//! Container groups of pods: ensure, observe, delete, list, over `azure` and `translate`.
