"""Why an execution failed: by rules, and by a language model where one is set."""
