# nst-stylize in a container, on the CPU; docs/guides/docker.md says how to use it. It has not been
# built yet: its commands were run one by one without Docker.
FROM python:3.11-slim

# OpenCV is the headless one, and the wheels bring all other libraries along: no apt package is needed.
WORKDIR /opt/nst_tf
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY nst_tf nst_tf
RUN pip install --no-cache-dir --no-deps .
COPY assets/chelsea.png assets/estuary.jpg assets/

# Caches of Numba, Keras and Matplotlib go to HOME, which any --user can write to.
ENV HOME=/tmp
RUN useradd --no-create-home --uid 1000 painter && install --directory --owner=painter /out
USER painter
WORKDIR /out
ENTRYPOINT ["nst-stylize"]
CMD ["--content=/opt/nst_tf/assets/chelsea.png", "--style=/opt/nst_tf/assets/estuary.jpg", \
     "--output=/out/demo.png", "--overwrite"]
