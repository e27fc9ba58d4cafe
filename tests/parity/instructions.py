"""Dockerfiles with all instructions, and all that the command line says of an image."""

from tests.parity.case import LETTERS, SOURCE_DATE_EPOCH, Case
from tests.parity.tree import EPOCH, tarball

CASES = (
    Case(
        name="instructions that only set configuration",
        dockerfile="""\
FROM busybox
MAINTAINER somebody
ENV A=1 B="two words"
WORKDIR /made/here
EXPOSE 80/tcp 53/udp
VOLUME ["/volume", "/other"]
USER 1000:1000
STOPSIGNAL SIGUSR1
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --retries=2 CMD test -e /made
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "true"]
""",
    ),
    Case(
        name="RUN leaves files",
        dockerfile="FROM busybox\nRUN mkdir -p /x/y && echo made > /x/y/z && ln -s z /x/y/link && chmod 4755 /x/y/z\n",
    ),
    Case(
        name="stages",
        dockerfile="""\
FROM busybox AS first
COPY a.txt /in/
RUN cp /in/a.txt /out
FROM first AS second
RUN echo more >> /out
FROM scratch
COPY --from=first /out /first
COPY --from=1 /out /second
COPY --from=busybox /bin/busybox /bin/
""",
        tree=LETTERS,
    ),
    Case(
        name="target",
        dockerfile="FROM scratch AS one\nCOPY a.txt /\nFROM one AS two\nCOPY b.txt /\nFROM nowhere.invalid/x\nRUN no\n",
        tree=LETTERS,
        argv=("--target", "two", "context"),
    ),
    Case(
        name="arguments",
        dockerfile="""\
ARG BASE=nowhere
ARG NAME=unused
FROM ${BASE}
ARG NAME
ARG WITH=default
ARG EMPTY=full
ENV NAME=${NAME} WITH=${WITH:-other} EMPTY=${EMPTY:+set}
COPY ${NAME}.txt /${WITH}/
RUN echo "$NAME $WITH $EMPTY" > /arguments
""",
        tree=LETTERS,
        argv=("--build-arg", "BASE=busybox", "--build-arg", "NAME", "--build-arg", "EMPTY=", "context"),
        env={**SOURCE_DATE_EPOCH, "NAME": "b"},
    ),
    Case(
        name="an argument that nobody declares, and one given twice",
        dockerfile="FROM scratch\nARG TWICE\nLABEL twice=$TWICE\nCOPY a.txt /\n",
        tree=LETTERS,
        argv=("--build-arg", "TWICE=1", "--build-arg", "UNKNOWN=x", "--build-arg", "TWICE=2=two", "context"),
    ),
    Case(
        name="SOURCE_DATE_EPOCH as an argument wins over the variable",
        dockerfile="FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /epoch\n",
        argv=("--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "context"),
        env={"SOURCE_DATE_EPOCH": "1"},
    ),
    Case(
        name="the variable SOURCE_DATE_EPOCH is an argument",
        dockerfile="FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /epoch\n",
    ),
    Case(
        name="arguments that the frontend reads",
        dockerfile="FROM busybox\nCOPY a.txt /\nRUN test -e /a.txt && hostname > /host\n",
        tree=LETTERS,
        argv=(
            *("--build-arg", "BUILDKIT_MULTI_PLATFORM=true", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=here"),
            "context",
        ),
    ),
    Case(
        name="secrets",
        dockerfile="""\
FROM busybox
RUN --mount=type=secret,id=file,required,mode=0444 md5sum /run/secrets/file > /file
RUN --mount=type=secret,id=variable,env=HUSH echo "${#HUSH}" > /variable
RUN --mount=type=secret,id=none test ! -e /run/secrets/none
""",
        beside={"hush": b"\x00\xff secret\n"},
        argv=("--secret", "id=file,src=hush", "--secret", "id=variable,env=WORD", "context"),
        env={**SOURCE_DATE_EPOCH, "WORD": "some word"},
    ),
    Case(
        name="mounts",
        dockerfile="""\
FROM busybox
RUN --mount=type=bind,target=/context,rw touch /context/new && ls -R /context > /listing
RUN --mount=type=bind,source=d/e,target=/e cat /e/* > /contents
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/tmp touch /cache/x /tmp/x && ls / > /top
""",
        tree=LETTERS,
    ),
    Case(
        name="globs",
        dockerfile="""\
FROM scratch
COPY *.txt /1/
COPY [a-b].??? /2/
COPY d*/ /3/
COPY d/[^a]* ./d/e/a.t?t /4/
COPY nothing-like-it* a.txt /5/
COPY d/*/c.log /6
""",
        tree=LETTERS,
    ),
    Case(
        name="destinations",
        dockerfile="""\
FROM busybox
WORKDIR /work
COPY a.txt .
COPY a.txt renamed
COPY a.txt b.txt ./many/
COPY d /folder
COPY d /folder/
COPY d/e/ /deep/er/and/deeper
COPY ["c.log", "/with space/c.log"]
""",
        tree=LETTERS,
    ),
    Case(
        name="ADD unpacks",
        dockerfile="""\
FROM scratch
ADD plain.tar /plain/
ADD p.tar.gz p.tar.bz2 /packed/
ADD a.txt d /other/
COPY plain.tar /
""",
        tree={
            **LETTERS,
            "plain.tar": tarball({"x": "x", "y/z": "z"}),
            "p.tar.gz": tarball({"gz": "1"}, compression="gz"),
            "p.tar.bz2": tarball({"bz2": "2"}, compression="bz2"),
        },
    ),
    Case(
        name="ADD keeps what it is told not to unpack",
        dockerfile="FROM scratch\nADD --unpack=false plain.tar /\nADD --chmod=0700 a.txt /\n",
        tree={**LETTERS, "plain.tar": tarball({"x": "x"})},
    ),
    Case(
        name="COPY --chmod and --chown",
        dockerfile="""\
FROM busybox
COPY --chmod=0640 d /numbers/
COPY --chmod=u=rwX,go=rX d /letters/
COPY --chown=12:34 --chmod=7777 a.txt /both
COPY --chown=nobody:nobody d /names/
""",
        tree=LETTERS,
    ),
    Case(
        name="COPY --link",
        dockerfile="""\
FROM busybox
COPY --link d /linked/d/
COPY --link --chown=5 a.txt /linked/
ADD --link b.txt /deep/new/
""",
        tree=LETTERS,
    ),
    Case(
        name="COPY --exclude",
        dockerfile="""\
FROM scratch
COPY --exclude=*.log --exclude=d/e . /1/
COPY --exclude=**/b.* d /2/
ADD --exclude=[ab]* . /3/
""",
        tree=LETTERS,
    ),
    Case(
        name="COPY --parents",
        dockerfile="""\
FROM scratch
COPY --parents ./d/e/a.txt d/*.log /1/
COPY --parents d/./e/** /2/
COPY --parents **/b.txt /3/
""",
        tree=LETTERS,
    ),
    Case(
        name="a Dockerfile with directives, continuations and Windows' line ends",
        dockerfile="# escape=`\r\n# check=skip=all\r\nFROM busybox`\r\n  AS x\r\n# comment\r\n"
        "RUN echo a `\r\n\r\n  # in it\r\n  b > /c\r\nCOPY `\r\n a.txt /\r\n",
        tree=LETTERS,
    ),
    Case(
        name="heredocs",
        dockerfile="""\
FROM busybox
RUN <<EOF
echo one > /one
echo "$(cat /one) two" > /two
EOF
RUN <<-"SCRIPT" sh
	echo "$HOME" > /scripted
	SCRIPT
COPY <<a.txt <<"b.txt" /docs/
expanded ${PATH}
a.txt
literal ${PATH}
b.txt
COPY --chmod=755 <<end /run
#!/bin/sh
end
ADD <<x /added/
x
""",
    ),
    Case(
        name="ONBUILD",
        dockerfile="""\
FROM busybox AS base
ONBUILD COPY a.txt /on/
ONBUILD RUN cp /on/a.txt /on/build
ONBUILD ENV ON=build
FROM base
ONBUILD LABEL later=yes
COPY b.txt /on/
""",
        tree=LETTERS,
    ),
    Case(
        name="labels",
        dockerfile='FROM scratch\nCOPY a.txt /\nLABEL own="1" both=own "multi word"="a b"\n',
        tree=LETTERS,
        argv=("--label", "both=given", "--label", "x.y/z=a=b", "--label", "empty", "--label", "ünï=cödé", "context"),
    ),
    Case(
        name="annotations",
        dockerfile="FROM scratch\nCOPY a.txt /\n",
        tree=LETTERS,
        argv=(
            *("--annotation", "plain=1", "--annotation", "manifest:m=2", "--annotation", "manifest-descriptor:d=3"),
            *("--annotation", "manifest[linux/amd64]:p=a,b", "context"),
        ),
    ),
    Case(
        name="annotations of an index",
        dockerfile="FROM scratch\nCOPY a.txt /\n",
        tree=LETTERS,
        argv=(
            *("--annotation", "index:i=1", "--annotation", "index,manifest:both=2"),
            *("--annotation", "manifest[linux/arm64/v8]:arm=3", "--annotation", "index-descriptor:id=4"),
            *("--platform", "linux/amd64,linux/arm64", "context"),
        ),
    ),
    Case(
        name="platforms",
        dockerfile="""\
FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETPLATFORM TARGETVARIANT
RUN echo "$TARGETPLATFORM $TARGETVARIANT" > /platform
FROM scratch
COPY --from=build /platform /
""",
        argv=("--platform", "linux/amd64,linux/arm64/v8,linux/arm/v7", "--platform", "linux/riscv64", "context"),
    ),
    Case(
        name="names of the image",
        dockerfile="FROM scratch\nCOPY a.txt /\n",
        tree=LETTERS,
        argv=("-t", "name", "-t", "host.example:5000/team/name:v1", "--tag", "docker.io/library/x", "context"),
    ),
)
