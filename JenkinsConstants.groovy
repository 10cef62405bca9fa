import groovy.transform.Field

// The Dockerfile for the AI4OS hub's pipeline, and the tag of its base image (build argument
// `tag`). The last stage of the file is `train`, for CPUs: the service whose API also trains. The
// other targets, `serve` and `gpu`, are built by hand (docs/tutorials/deploy.md).
@Field
def dockerfile = 'docker/Dockerfile'

@Field
def base_cpu_tag = '3.11-slim-bookworm'

return this;
