"""Why a request missed: the nearest stored request, and what differs."""
