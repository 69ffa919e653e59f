//! Tables of offers and answers.
