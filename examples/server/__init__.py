"""A fleet server with FastAPI: several uvicorn workers over one directory. `server/app.py` says how to start it."""
