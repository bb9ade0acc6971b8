//! The chart, by the real helm: it says what `config/` says, renders every value that matters into what a real API server accepts,
//! refuses what it should, and an operator under the rights that it grants runs its connectors.

mod helm;
mod kustomize;
mod life;
mod refusals;
mod values;
