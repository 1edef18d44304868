"""What a store holds, looked at from outside, without a cache."""
