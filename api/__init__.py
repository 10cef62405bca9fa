"""The DEEPaaS face: what the AI4OS marketplace and the service call. It holds no science."""
