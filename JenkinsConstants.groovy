import groovy.transform.Field

// What the AI4OS hub's pipeline builds the image from: the file, and the tag of its base
// (build argument `tag`). The last stage of the file is the service, on processors alone.
@Field
def dockerfile = 'docker/Dockerfile'

@Field
def base_cpu_tag = '3.11-slim-bookworm'

return this;
