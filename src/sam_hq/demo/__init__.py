"""The demo page: sessions that hold one photo each, the server before them, and the page itself.

`photo_session.py` and what it uses know neither HTTP nor a page; `server.py` is the only module with Starlette.
"""
