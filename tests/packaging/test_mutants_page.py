from support.mutants import PAGE, page


def test_the_page_has_every_mutant():
    assert PAGE.read_text() == page(), "write it anew: cd tests && python -m support.mutants"
