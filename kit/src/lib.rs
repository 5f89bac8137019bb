//! What the author of a module needs around the code: a project to begin with, a compiler
//! for its language, and the samples that travel inside the file.
