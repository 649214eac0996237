"""The control API: the mesh over HTTP, on loopback, for the command, the page and the sidecars' spans.

operator   what the API needs of whoever runs the mesh: the supervisor here, the Docker driver elsewhere
guard      who may ask: this machine by its own names (Host), and no foreign page (Origin)
picture    the mesh as the page draws it; history its last five minutes; journal what happened; detection who
           noticed what, and when; flights the sampled real requests; listeners the sidecars' own events
hub        looks at all that several times a second and sends every open page the difference
app        routes and middlewares put together; one module a family of routes
"""
