//! One request's journey: codec, filters, route, balance, upstream pool, codec.
