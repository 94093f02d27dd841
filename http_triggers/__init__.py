"""Functions that answer HTTP: request -> one durable client call or journal read -> response."""
