//! The protocol core driven by a small world: readable transcripts of the textbook cases, and an
//! exhaustive search of a few events. The large, random world is the simulator's.

mod disk;
mod exhaustive;
mod metadata_store;
mod rules;
mod script;
mod transcripts;
mod world;
