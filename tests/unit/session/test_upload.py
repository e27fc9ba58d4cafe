"""An archive on its way to buildkitd."""

from pathlib import Path

from ci_buildx.session.call import GrpcStatus
from ci_buildx.session.content import UploadService
from ci_buildx.wire import protobuf
from tests.unit.session.conversation import Conversation

PULL = "/moby.upload.v1.Upload/Pull"


def content(message: bytes) -> bytes:
    ((field, _, value),) = protobuf.read_fields(message)
    assert field == 1
    assert isinstance(value, bytes)
    return value


def test_an_archive_is_sent(tmp_path: Path) -> None:
    archive = tmp_path / "context"
    archive.write_bytes(bytes(range(256)) * 4000)
    talk = Conversation(UploadService({"id": archive}))
    answer = talk.hear(talk.call(PULL, metadata=[("urlpath", "/id"), ("urlhost", "buildkit-session")]))
    assert b"".join(map(content, answer.messages)) == archive.read_bytes()
    assert answer.status == "0"


def test_no_other_file_is(tmp_path: Path) -> None:
    talk = Conversation(UploadService({"id": tmp_path / "gone"}))
    assert talk.hear(talk.call(PULL, metadata=[("urlpath", "/etc/passwd")])).status == str(int(GrpcStatus.NOT_FOUND))
    assert talk.hear(talk.call(PULL, metadata=[("urlpath", "/id")])).status == str(int(GrpcStatus.UNKNOWN))
