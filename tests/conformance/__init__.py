"""One suite for the clients of all languages: scenarios in data, a driver a language, a real server. See README.md."""
