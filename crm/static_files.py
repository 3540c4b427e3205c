"""Static files with a hash in their names, so that browsers may keep them for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Before the first collectstatic files have their plain names: the site opens, with shorter caching.

    After it a file that was not collected is an error, as usual.
    """

    def stored_name(self, name: str) -> str:
        return super().stored_name(name) if self.hashed_files else name
