"""The rollout worker: plays the requests that the trainer publishes, and answers each with one terminal record."""
