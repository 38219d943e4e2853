"""What is said to language models: typed functions from context to messages, one file per purpose."""
