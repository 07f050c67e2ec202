"""The shapes of the API's answers: they are the contract, and OpenAPI is made from them."""
