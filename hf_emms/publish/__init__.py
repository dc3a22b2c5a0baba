"""Rankings on the Hub: cards, the results dataset, the leaderboard Space and the wheel that they install."""
