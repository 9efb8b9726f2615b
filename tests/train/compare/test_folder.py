"""The folder of a comparison: what is refused before anything is written."""

import pytest

from ultra_core.errors import UltraError
from ultra_train.compare.folder import ComparisonFolder, ComparisonFolderError


def test_a_file_and_a_folder_of_something_else_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "in"):
        with pytest.raises(UltraError, match=r"-o: .*file is a file"):
            ComparisonFolder(path).check_free()
    with pytest.raises(ComparisonFolderError, match=r"holds other files .file"):
        ComparisonFolder(tmp_path).check_free()
    ComparisonFolder(tmp_path / "new").check_free()
    (tmp_path / "begun" / "presets").mkdir(parents=True)  # killed before the plan was whole
    ComparisonFolder(tmp_path / "begun").check_free()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 7}'])
def test_a_damaged_plan_is_told(tmp_path, text):
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(ComparisonFolderError, match=r"comparison.json"):
        _ = ComparisonFolder(tmp_path).command
