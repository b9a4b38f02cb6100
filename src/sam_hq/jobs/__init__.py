"""Work over folders of images: listing, the job itself, its journal and the files that it writes."""
