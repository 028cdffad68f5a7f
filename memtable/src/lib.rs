//! One table's recent writes in order, with exact memory accounting.
