"""What a Keras layer computes, as steps: the seam between a call and the families that describe
it."""
