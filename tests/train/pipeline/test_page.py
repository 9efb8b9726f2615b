import shutil

from ultra_train.cli.app import main


def test_the_page_links_the_steps_and_draws_their_losses(finished):
    page = (finished / "report.html").read_text()
    for step in ("first", "second"):
        assert f'<a href="{step}/report.html">{step}</a>' in page
        assert f"Loss: {step}" in page
    assert "two tiny runs" in page
    assert "<th scope=col>nDCG@10</th>" in page


def test_report_writes_it_again_for_a_pipeline_and_for_its_steps(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "pair")
    (folder / "report.html").unlink()
    shutil.rmtree(folder / "second")
    assert main(["report", "pair", "--output-dir", str(tmp_path)]) == 0
    assert "not started" in (folder / "report.html").read_text()
    assert main(["report", "pair/first", "--output-dir", str(tmp_path)]) == 0
