"""`browse.html`: every row of `results.json`, to sort, to filter and to look at.

The page is one file that needs no network. Its pictures are the exception: they stay in the files of `pictures/`, which
lie beside the page anyway, and a row's are cut out of them when they are asked for. Within the page they would take
1.4 MB more, more than all else in it together. Sorting and filtering are a hundred lines of the page's own: the tables
are plain HTML, which a library for tables would build anew from data, and can be read without a script.
"""

from unsplit.studies.reproduction.browse.made import browse_html

__all__ = ["browse_html"]
