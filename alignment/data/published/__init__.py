"""Published preference data in shapes of their own, brought into the project's row schema."""
